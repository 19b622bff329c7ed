"""Models and how calls to them go."""
