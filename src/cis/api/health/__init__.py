"""How a node is and what is wrong with it: at a glance, by the doctor, and why a memory is not where it should be."""
