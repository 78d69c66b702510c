"""Search spaces, one per file: `space(trial, recipe) -> Recipe`, define-by-run."""
