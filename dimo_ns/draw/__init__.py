"""Pictures of a trained scene, as one would print them: each file draws one, as a function of a Scene."""
