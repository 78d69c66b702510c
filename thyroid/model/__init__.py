"""A model folder: a trained network with everything that is needed to use it elsewhere.

MODEL/members/            weights of each network, and features of its training images
MODEL/model.json          network, input, calibration, data, recipe, metrics
MODEL/training_images.txt hashes of the pixels of all training and calibration images
MODEL/README.md           the model card
MODEL/model.onnx          optional graph: counts -> calibrated probabilities

`make_model` makes it from a run, `model_folder` reads it, `onnx_graph` writes the graph,
`predict_files` applies it to files, `recalibration` fits its calibration to other images. May not
import stages or ray.
"""
