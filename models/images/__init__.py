"""Task `image`: a whole image to a class, by the protocol of the papers that split by image and by the honest one.

`image_set` reads a folder, `splits` divides it, `fitting` makes a package of it, `opened` classifies with a package
(no torch), `measuring` and `report` say how good it is, `study` runs all of it on the real sources.
"""
