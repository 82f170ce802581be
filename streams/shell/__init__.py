"""The shell: the engine's outside. Faust app, agents, commit, dead letters, HTTP."""
