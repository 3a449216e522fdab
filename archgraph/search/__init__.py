"""Architecture search: studies as files, Optuna as the optimiser, closed forms as the budget."""
