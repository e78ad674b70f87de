"""What all parts tell about themselves: how metrics are declared, and how log lines look."""
