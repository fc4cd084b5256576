"""The command ``qefficient``: one file a group of commands, each a thin call into the rooms."""
