"""What immure knows about each agent: the files that it wants to find, its environment, and where its program is."""
