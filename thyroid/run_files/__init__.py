"""The files of a run folder: one module per file, with its records, `write`, `read` and checks.

RUN/config.json        config_json.py        reproduces the run
RUN/recipe.json        config_json.py        the recipe that was trained
RUN/split.csv          split_csv.py          the part of each image
RUN/metrics.jsonl      metrics_jsonl.py      each epoch of the final trainings
RUN/tensorboard/       runs/tensorboard.py   metrics.jsonl and trials.csv as event files
RUN/predictions/       predictions_csv.py    {validation,test}-seedS.csv; the same in
                                             without-synthetic/ of the recipe on real images alone,
                                             in before-cross/ of the networks before their cross
                                             phase, and in RUN/rows/NAME/ of a compared row
RUN/rows.json          rows_json.py          comparisons only: the rows that are compared
RUN/synthetic/         quality_json.py       how good the first seed's synthetic images are;
                                             examples/ is a data set of some of them
RUN/cases/             cases_json.py         the first seed's errors and uncertain images
RUN/model/             model/                the first seed's weights and card
RUN/trials.csv         trials_csv.py         searches only: the trials that have ended
RUN/stages.json        stages_json.py        the stages that the run needed
RUN/usage.json         usage_json.py         node-hours and stage-hours
RUN/store/             storage/              artifacts, unless they are kept elsewhere

May import errors, files, configuration and recipe, numpy and pandas; not torch, ray or optuna, so
that readers of a run do not need them. docs/reference/run-files.md describes the files for users.
"""
