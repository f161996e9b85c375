"""What a node says of itself over months: the log, counters, round trips, who is connected with whom."""
