"""What the first person with a GPU runs: does what the code assumes of GPUs hold?"""
