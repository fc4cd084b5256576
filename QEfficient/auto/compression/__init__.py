"""Making an Auto object smaller, a file a step: measured, guarded, recorded, and given as another object."""
