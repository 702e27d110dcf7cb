"""YAML to frozen values, with file:line:column errors."""
