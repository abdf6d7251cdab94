"""From one image to a dataset of motions: prompts, videos, masks, views."""
