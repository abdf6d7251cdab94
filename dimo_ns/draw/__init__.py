"""Pictures of a trained scene, as one would print them: each file draws what its name says."""
