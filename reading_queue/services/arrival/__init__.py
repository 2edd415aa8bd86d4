"""How studies come: asked for, uploaded or deposited, proved, catalogued, told onwards."""
