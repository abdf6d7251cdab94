"""What is made of a space of motions: samples, blends, motions in words and fitted ones. Functions of a MotionSpace."""
