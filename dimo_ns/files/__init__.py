"""Files on disk: fields that are read with a check, output that appears complete or not at all."""
