"""What a picture is worth, from arrays alone: layout, quality, objects and colours. No model is imported here."""
