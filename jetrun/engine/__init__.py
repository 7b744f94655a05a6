"""One run carried through its phases: asks guarantee/, calls the interfaces, writes the journal first."""
