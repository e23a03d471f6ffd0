"""Text from outside (files, servers, models, terminals): read within bounds, cleaned before it is shown."""
