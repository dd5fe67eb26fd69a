"""Recipes that rebuild the embedded models from the reference world: `scenewright train NAME`."""
