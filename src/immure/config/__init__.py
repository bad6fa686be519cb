"""What you write, read strictly: settings (TOML) and policy (YAML) become values, or an error that says where.

`settings` and `policy_file` do not need each other; import the one you need.
"""
