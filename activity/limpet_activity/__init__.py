"""What every request did, cost and why: kept, shown and sent on."""
