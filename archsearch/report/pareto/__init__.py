"""AP against a cost, with uncertainty: what ``archsearch pareto`` draws and writes."""
