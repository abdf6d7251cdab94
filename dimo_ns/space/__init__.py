"""A trained scene, used: read from its file, asked for motions by name, latent or blend."""
