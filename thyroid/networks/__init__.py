"""The networks, one registry. Pure torch: nothing here knows of files, stages or Ray."""
