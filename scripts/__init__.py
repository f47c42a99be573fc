"""Scripts that a user types, and rooms of their parts: sweep/, results/, rank/, bench/."""
