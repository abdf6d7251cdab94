"""Bad input to every command of `dimo`: how it is made, given and judged."""
