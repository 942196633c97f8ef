"""The commands: one thin function each. Heavy modules are imported only where they are used."""
