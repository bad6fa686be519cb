"""Names that are really heard: what a sandbox may be allowed to reach."""

EAR = "ear.example.com"
OTHER_EAR = "other.example.com"
