"""The screens: people choose between candidates here. Stands on `db`, knows nothing of torch."""
