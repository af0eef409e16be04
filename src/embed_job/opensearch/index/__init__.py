"""An index's life: made or checked, loaded under a profile, finished, promoted, rolled back."""
