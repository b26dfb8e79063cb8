import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.IParser;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.Resource;

/**
 * Writes the R4 definitions on the classpath into the folder args[0], one JSON file a resource: what the package
 * hl7.fhir.r4.core#4.0.1 holds.
 */
public class CorePackage {
    private static final List<String> BUNDLES = List.of(
            "profile/profiles-resources",
            "profile/profiles-types",
            "profile/profiles-others",
            "extension/extension-definitions",
            "valueset/valuesets",
            "valueset/v2-tables",
            "valueset/v3-codesystems");

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        Files.createDirectories(folder);
        FhirContext context = FhirContext.forR4();
        IParser xml = context.newXmlParser();
        IParser json = context.newJsonParser();
        for (String bundle : BUNDLES) {
            try (InputStream in = CorePackage.class.getResourceAsStream("/org/hl7/fhir/r4/model/" + bundle + ".xml")) {
                for (Bundle.BundleEntryComponent entry : xml.parseResource(Bundle.class, in).getEntry()) {
                    Resource resource = entry.getResource();
                    if (resource != null) {
                        String name = resource.fhirType() + "-" + resource.getIdElement().getIdPart() + ".json";
                        Files.writeString(folder.resolve(name), json.encodeResourceToString(resource));
                    }
                }
            }
        }
    }
}
