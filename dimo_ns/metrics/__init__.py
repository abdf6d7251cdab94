"""How good pictures and trajectories are against the truth, whatever made them."""
