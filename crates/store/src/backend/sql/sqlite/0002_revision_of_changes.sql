-- None for what was deleted, and for changes that were told before.
ALTER TABLE changes ADD COLUMN revision INTEGER;
