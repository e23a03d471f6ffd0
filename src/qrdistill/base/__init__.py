"""What everything stands on: records, errors, settings, the store, seeded draws."""
