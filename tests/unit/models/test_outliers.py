import numpy as np

from models.corpus import CROP_PX
from models.outliers import outlier_crops


def test_objects_found_in_drawn_tissue_are_cut_out_the_same_each_time():
    crops = outlier_crops(studies={"histology": 1, "blank": 1})
    assert crops.shape[1:] == (CROP_PX, CROP_PX, 3)
    assert crops.dtype == np.uint8
    assert len(crops) >= 6
    assert np.array_equal(crops, outlier_crops(studies={"histology": 1}))


def test_where_nothing_is_found_there_are_none():
    assert len(outlier_crops(studies={"blank": 2})) == 0
