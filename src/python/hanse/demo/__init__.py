"""The main job: the documented callables of this Python installation, put to work as agents."""
