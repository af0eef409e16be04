"""The launcher's commands. Each loads what it needs when it is called, so that help is quick."""
