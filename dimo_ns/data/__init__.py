"""The dataset on disk: read (`format.load`), written (`format.write`), decoded (`frames`), checked (`check`)."""
