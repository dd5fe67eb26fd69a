"""What the models and methods are worth: `scenewright bench embedded|layout|real|gallery`."""
