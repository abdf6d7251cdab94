"""Finding motions without a decoder: which frame starts from which, how key points move together, the visual hull."""
