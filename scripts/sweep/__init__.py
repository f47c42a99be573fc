"""Many runs: the jobs of a sweep, how far each is, and the loop that starts them."""
