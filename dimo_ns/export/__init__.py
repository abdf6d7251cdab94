"""What leaves the house: functions of a trained Scene."""
