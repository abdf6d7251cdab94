"""dimo_ns: one model of an object and all its motions, as a nerfstudio method."""
