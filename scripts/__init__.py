"""What a user types, and the rooms that hold what it is made of: sweep/, results/, bench/."""
