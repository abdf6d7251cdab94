"""The tests, in the tree of the package; what several of them need lies beside them, imported as tests.*."""
