"""A model folder: a trained network with all that is needed to use it elsewhere.

MODEL/model.safetensors   weights
MODEL/model.json          what they are of, what they take, calibration, data, recipe, metrics
MODEL/README.md           the model card
MODEL/model.onnx          counts -> calibrated probabilities, where asked for

`folder` reads it, `export` takes one from a run, `onnx_graph` is its form for other programs,
`prediction` applies it to files. May not import stages or ray: a model needs no training. Of
`runs` it takes the reading of config.json.
"""
